"""What the tests of this folder start from."""

from tests.support.run_fixtures import hints, project_id

__all__ = ["hints", "project_id"]
