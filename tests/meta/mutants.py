"""All planted bugs, by mechanism."""

from tests.meta.mutants_choice import CHOICE
from tests.meta.mutants_engine import ENGINE
from tests.meta.mutants_formats import FORMATS
from tests.meta.mutants_memory import MEMORY
from tests.meta.mutants_operations import OPERATIONS

MUTANTS = [*OPERATIONS, *MEMORY, *ENGINE, *CHOICE, *FORMATS]
