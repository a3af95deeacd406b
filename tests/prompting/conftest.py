"""One project for all tests that leave it as it is, or add runs alone."""

import pytest

from taistore.project import Project
from tests.prompting.learner_projects import make_project


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Photos, regions and texts of four colours."""
    return make_project(tmp_path_factory.mktemp("learners"))
