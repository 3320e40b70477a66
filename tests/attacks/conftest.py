import pytest
from loading_child import Loading


@pytest.fixture(scope="session")
def loading():
    """Two warm children, with heavy libraries (``True``) and without."""
    children = {heavy: Loading(libraries=heavy) for heavy in (False, True)}
    yield children
    for child in children.values():
        child.close()
