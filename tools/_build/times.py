"""How long the steps of a long command take, from its last run here."""

import json
import threading
from pathlib import Path

LEAST_SECONDS = 5.0


class Times:
    """Seconds by step, for the rough time left; kept in a file."""

    def __init__(self, path: Path, guess: "dict[str, float]") -> None:
        """Take what the file says, and the guess for what it does not."""
        self.path = path
        self.lock = threading.Lock()
        self.seconds = dict(guess)
        try:
            known = json.loads(path.read_text())
            self.seconds.update({k: float(v) for k, v in known.items()})
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # first run, or a torn file: guess

    def record(self, name: str, seconds: float) -> None:
        """Remember a step that did real work (a no-op tells nothing)."""
        if seconds < LEAST_SECONDS:
            return
        with self.lock:
            self.seconds[name] = round(seconds)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            spare = self.path.with_suffix(".new")
            spare.write_text(json.dumps(self.seconds))
            spare.replace(self.path)
