"""Joint CTC/attention/language model beam search over a fixed grid of utterances and hypotheses."""
