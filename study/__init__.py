"""The distillation study: configuration, training, search, final comparison and the command line."""

from storage.errors import end_silently_while_loading

end_silently_while_loading()
