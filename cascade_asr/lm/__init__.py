"""The AWD-LSTM language model: network, text, training batches, evaluation, fusion."""
