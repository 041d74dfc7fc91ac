"""Is the web process alive? Asked by `tailor up`, containers and proxies."""

from fastapi import APIRouter

router = APIRouter()


@router.get("/health")
@router.head("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
