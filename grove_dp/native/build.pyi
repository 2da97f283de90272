from typing import TypedDict

class Facts(TypedDict):
    compiler: str
    cython: str
    flags: str
    commit: str
    debug: bool

def facts() -> Facts: ...
def cpu_features() -> list[str]: ...
