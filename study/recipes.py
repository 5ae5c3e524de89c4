"""How a teacher is trained, by name."""

import dataclasses

from storage.configuration import Configuration, Recipe

TEACHER_RECIPES = {
    # https://github.com/DefangChen/SimKD, train_teacher.py: the published teachers.
    "simkd": Recipe(
        epochs=240,
        batch_size=64,
        learning_rate=0.05,
        momentum=0.9,
        step_epochs=(150, 180, 210),
        step_factor=0.1,
    ),
    # For an accelerator: SimKD's learning rate, scaled with the batch (Goyal et al. 2017, https://arxiv.org/abs/1706.02677).
    # No label smoothing: it makes a better network and a worse teacher (Mueller et al. 2019, https://arxiv.org/abs/1906.02629).
    "large-batch": Recipe(
        epochs=100,
        batch_size=512,
        learning_rate=0.4,
        momentum=0.9,
        nesterov=True,
        schedule="one-cycle",
        precision="bfloat16",
    ),
    # A fifteenth of the epochs, for a machine without GPU; one-cycle after Smith and Topin 2017, https://arxiv.org/abs/1708.07120.
    "short": Recipe(epochs=16, batch_size=128, learning_rate=0.3, momentum=0.9, nesterov=True, schedule="one-cycle"),
    # For two CPU cores: small images first, so that an early epoch costs a fraction of a late one.
    "two-cores": Recipe(
        epochs=40,
        batch_size=128,
        learning_rate=0.3,
        momentum=0.9,
        nesterov=True,
        schedule="one-cycle",
        precision="bfloat16",
        image_sizes=((0, 16), (10, 24), (26, 32)),
    ),
    "demo": Recipe(epochs=8, batch_size=64, learning_rate=0.2, momentum=0.9, nesterov=True, schedule="one-cycle"),
}


def teacher_recipe(configuration: Configuration, name: str | None = None) -> Recipe:
    """How the teacher of a study is trained: by the recipe of that name, else the study's, on images as the student's.

    What mirrors an image makes it another for both or for neither.
    """
    return dataclasses.replace(TEACHER_RECIPES[name or configuration.teacher_recipe], flip=configuration.recipe.flip)
