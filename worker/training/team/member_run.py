"""A run as a member of a team does it: everything but what only one of them may do."""

from pathlib import Path

from app.runs.methods import Quantization
from worker.training.checkpoints import Checkpoint
from worker.training.events import EventSink
from worker.training.loop import TrainingRun
from worker.training.precision import Numbers
from worker.training.recall import Recall
from worker.training.stopping import StopFlag
from worker.training.team.members import Invitation
from worker.training.team.team import join


class MemberRun(TrainingRun):
    """The same run, begun where the lead says, with nothing published."""

    def __init__(
        self, run_folder: Path, fence: int, events: EventSink, invitation: Invitation
    ) -> None:
        super().__init__(run_folder, fence, events, StopFlag())
        self._invitation = invitation

    def check_inputs(self) -> None:
        """Rely on the lead, which has looked at everything before it called."""

    def find_beginning(self, bits: Quantization) -> Checkpoint | None:
        del bits
        told = self._invitation
        self.numbers = Numbers.from_json(told.numbers)
        divides = self.recipe.divides_model
        self.team = join(told.rank, told.size, Path(told.place), divides=divides)
        if told.step is None:
            return None
        checkpoint = self.checkpoints.load_step(told.step)
        if checkpoint is None:
            raise RuntimeError(f"the checkpoint of step {told.step} was whole a moment ago")
        return checkpoint

    def save_checkpoint(self) -> None:
        """Leave it to the lead, which has all that a checkpoint holds."""

    def hand_over(self, recall: Recall | None) -> None:
        """Leave that to the lead, too."""
