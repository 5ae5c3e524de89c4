"""The report: results collected from what is stored, and everything that is drawn from them."""

from storage.errors import end_silently_while_loading

end_silently_while_loading()
