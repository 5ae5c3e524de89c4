"""The studies that start from a name, each a file beside this one; and what the tests ask of them."""

from study.recipes import TEACHER_RECIPES
from study.settings import PRESET_FILES, read_settings

PRESETS = {name: read_settings(file).configuration for name, file in PRESET_FILES.items()}
STUDENT_RECIPE = PRESETS["full"].recipe

__all__ = ["PRESETS", "STUDENT_RECIPE", "TEACHER_RECIPES"]
