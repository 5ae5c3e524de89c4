"""The distillation study: training, search, final comparison and the command line."""

import sys
from pathlib import Path

# A models.py or data/ of one's own in the working folder, which -m puts first, must not hide the other rooms.
sys.path.insert(0, str(Path(__file__).parents[1]))

from storage.errors import end_silently_while_loading

end_silently_while_loading()
