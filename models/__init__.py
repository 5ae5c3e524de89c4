"""The student, the teacher family, their checkpoints and what they cost."""

from models.architecture import Architecture, NetworkError, Normalisation, is_own
from models.checkpoint import (
    CheckpointError,
    OtherNetworkError,
    classes_of,
    load_checkpoint,
    round_to_half,
    save_checkpoint,
    weights_hash,
)
from models.cost import count_parameters
from models.network_check import check_network, check_training, has_fixed_weights
from models.resnet import build, fold_batch_norm
from models.student import StudentCNN
from models.teacher_card import (
    Teacher,
    TeacherCard,
    find_teacher,
    find_teachers,
    stored_teachers,
    teachers_folder,
    teachers_of_other_sources,
)
from models.winograd import has_winograd, with_winograd

__all__ = [
    "Architecture",
    "CheckpointError",
    "NetworkError",
    "Normalisation",
    "OtherNetworkError",
    "StudentCNN",
    "Teacher",
    "TeacherCard",
    "build",
    "check_network",
    "check_training",
    "classes_of",
    "count_parameters",
    "find_teacher",
    "find_teachers",
    "fold_batch_norm",
    "has_fixed_weights",
    "has_winograd",
    "is_own",
    "load_checkpoint",
    "round_to_half",
    "save_checkpoint",
    "stored_teachers",
    "teachers_folder",
    "teachers_of_other_sources",
    "weights_hash",
    "with_winograd",
]
