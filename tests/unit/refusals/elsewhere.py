"""Refusals without a row: which test provokes them, and which only another machine could."""

_BRIDGE = "unit/training/test_bridge_state.py::"
_DECODERS = "unit/runtime/test_decoders.py::test_what_may_be_several_or_none_is_asked_for"
_ENGINES = "unit/benchmark/test_engine_runner.py::test_what_is_no_engine_of_this_machine"
_BATCH = "test_where_a_larger_batch_does_not_go_in_the_node_is_named"
_BUILT = "e2e/test_build.py::"
_NAMED = "unit/training/test_bridge_ops.py::test_what_the_bridge_lacks_is_named"

ELSEWHERE = {
    "cannot be shared by": "unit/training/test_training_parts.py::test_processes_share_a_batch",
    "values beyond the range of": _BRIDGE
    + "test_half_precision_is_trained_in_single_and_written_in_half",
    "does not take a batch of": _BRIDGE + _BATCH,
    "the PyTorch bridge has no op": _BRIDGE
    + "test_part_of_a_graph_needs_only_the_ops_of_that_part",
    ", which the PyTorch bridge does not have": _NAMED,
    "is computed by the graph, so its": "unit/training/test_concurrent.py::"
    "test_a_weight_that_the_graph_computes_is_refused_before_anything_is_trained",
    "is to be kept: it belongs to another model": "unit/training/test_apply_cuts.py::"
    "test_a_tensor_of_another_size_is_refused",
    ", which weights alone cannot show: prune with": "unit/training/test_apply_cuts.py::"
    "test_whole_branches_are_none_of_the_weights",
    "an engine is not portable": _BUILT + "test_another_gpu_or_version_is_refused",
    "was built by TensorRT ": _BUILT + "test_another_gpu_or_version_is_refused",
    "nvidia-smi finds no GPU": _BUILT + "test_a_gpu_that_is_not_there",
    "images of shape ": "unit/runtime/test_evaluate.py::test_refusals",
    "are not finite before ": "unit/recovery/test_least_squares.py::"
    "test_activations_that_overflow_are_named",
    "are not finite at ": "unit/pruner/sensitivity/test_curves.py::"
    "test_values_that_overflow_inside_the_network",
    "which may be ": _DECODERS,
    ": neither boxes (d, 4)": _DECODERS,
    " does not fit ": _DECODERS,
    " is unknown: give one of ": _DECODERS,
    "the original detects nothing ": "e2e/test_evaluate_detection.py::"
    "test_the_original_is_the_truth_where_there_are_no_labels",
    "the model gives label ": "e2e/test_evaluate_detection.py::"
    "test_what_does_not_go_together_is_one_line",
    "--recover ": "unit/recovery/test_recover.py::test_a_method_that_needs_images",
    "--accelerator ": "e2e/training/test_refusals.py::test_options_out_of_range_are_usage",
    " takes ": "unit/library/test_what_functions_take.py::"
    "test_a_wrong_type_gets_one_sentence_that_names_the_argument",
    "other sizes": "unit/test_sizes.py::test_a_refusal_names_the_sizes_that_were_tried",
}
MADE_APART = {
    "deployment/engine.py": _BUILT + "test_what_fails",
    "cli/bench.py": "e2e/test_bench.py::test_out_of_memory_keeps_what_was_measured",
    "runtime/ort.py": "unit/runtime/test_ort_session.py::test_errors_are_one_line",
    "runtime/evaluate.py": "unit/data/test_class_order.py::"
    "test_more_folders_than_classes_are_refused",
    "verification/inputs.py": "unit/test_inputs_of_a_proof.py::"
    "test_sizes_that_do_not_fit_are_named",
}
"""Files whose refusals without words get their message from a function of their own."""

OUT_OF_REACH = {
    "OpenVINO cannot ": "another runtime, which tests do without",
    "TensorRT cannot run ": "a GPU",
    "TensorRT cannot load ": "a GPU",
    "build the engine with inputs and outputs in float32": "a GPU",
    "build it for that batch size": "a GPU",
    "such engines are not measured": "a GPU",
    "--task and --decode go with": "e2e/test_prune_options.py::"
    "test_what_is_measured_is_said_of_a_search_that_measures",
}
