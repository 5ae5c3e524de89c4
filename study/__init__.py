"""The distillation study: configuration, training, search, final comparison and the command line."""
