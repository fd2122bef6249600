"""What shows or uses state that must survive a crash waits for the disk; nothing else does."""

from typing import get_args

from everfly.core import effects

WAIT_FOR_THE_DISK = {
    effects.SendHello,
    effects.Ask,
    effects.Reconfigure,
    effects.TakeOver,
    effects.PauseWrites,
    effects.ResumeWrites,
    effects.ReconfigureClients,
    effects.Crash,
    effects.Answer,
}


def test_what_shows_durable_state_waits_for_the_disk_and_nothing_else() -> None:
    waiting = {effect for effect in get_args(effects.Effect) if effect.after_durable}
    assert waiting == WAIT_FOR_THE_DISK
