"""People's verdicts on parts; the review step makes labels of them."""

import hmac
import logging
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ml import files
from ml.audit import reviews
from ml.errors import StorageError
from ml.results import Document
from serving.errors import ApiError
from serving.images import SHA256
from serving.installation import Installation, installation

log = logging.getLogger(__name__)

blueprint = Blueprint("reviews", __name__, url_prefix="/v1/lines")


class Review(BaseModel):
    """A person's verdict on one image."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    # Which image of these bytes; that of another part is no picture of this one. A name as it is.
    object: Annotated[str, StringConstraints(strip_whitespace=False, max_length=1024)] = ""
    verdict: Literal["pass", "fail"]
    defect_type: str = Field("", max_length=64)
    # Part of the document's id, where a slash would be a path.
    by: str = Field(pattern=r"^[\w.@+ -]{1,64}$")
    comment: str = Field("", max_length=2000)

    @model_validator(mode="after")
    def _passed_has_no_defect(self) -> "Review":
        if self.verdict == "pass" and self.defect_type:
            msg = "a passed part has no defect_type"
            raise ValueError(msg)
        if self.defect_type.lower() in ("ok", "good"):
            msg = (
                f"defect_type {self.defect_type!r} is no defect; pass the part, or name what is "
                "wrong with it"
            )
            raise ValueError(msg)
        return self


@blueprint.post("/<line>/reviews")
def review(line: str) -> tuple[dict[str, Any], int]:
    """Record a person's verdict. Sending the same twice keeps the first; a new one replaces it.

    So does the same one where somebody else has judged the image since: the last word counts.
    """
    here = installation()
    _authorise(here.settings.token)
    here.line(line)
    given = _parse()
    name = f"{line}__{_image(here, line, given)}__{given.by}"
    document = {"line": line, **given.model_dump()}
    known = here.store.get("reviews", name)
    if known is not None and known.items() >= document.items() and not _is_overruled(here, known):
        # No second entry, unless the ledger lost the first: `audit verify` asks to send it again.
        _record(here, line, name, {key: known[key] for key in known if key != "id"})
        return known, 200
    document["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    _record(here, line, name, document)
    here.store.put("reviews", {name: document})
    return {**document, "id": name}, 201


@blueprint.get("/<line>/reviews")
def history(line: str) -> dict[str, Any]:
    """What people said of an image, latest first: who, when, verdict and comment.

    Verdicts that somebody revised since are known as far as the ledger is on this host.
    """
    here = installation()
    _authorise(here.settings.token)
    here.line(line)
    sha256 = request.args.get("sha256", "")
    if not SHA256.fullmatch(sha256):
        raise ApiError(400, "bad_sha256", f"`sha256` is {sha256!r}; expected that of an image")
    said = reviews.said_of(here.home.ledgers(line), sha256)
    stored = here.store.find("reviews", {"line": line, "sha256": sha256})
    said += [one for one in stored if one not in said]
    return {"items": sorted(said, key=lambda one: str(one.get("at", "")))[::-1]}


def _record(here: Installation, line: str, name: str, document: Document) -> None:
    try:
        reviews.record(here.home.ledgers(line), {name: document})
    except OSError as error:
        if not files.is_forbidden(error):
            msg = f"the review was not recorded: {error}; send it again"
            raise StorageError(msg) from error
        # A host that only reads its home. The review step finds the document, and says that.
        log.warning("review %s is stored without an entry in the ledger: %s", name, error)


def _is_overruled(here: Installation, known: Document) -> bool:
    of_image = {key: known[key] for key in ("line", "sha256")}
    others = here.store.find("reviews", of_image)
    # Those that name two images are on two parts.
    names = ("", None, known["object"])
    same = [one for one in others if not known["object"] or one.get("object") in names]
    return any(other.get("at", "") > known.get("at", "") for other in same)


def _authorise(token: str) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        msg = "reviews need the header `Authorization: Bearer <LOUPE_TOKEN>`"
        raise ApiError(401, "unauthorised", msg)


def _parse() -> Review:
    # Asking for JSON also keeps other sites out: a browser asks before it sends JSON across sites.
    if not request.is_json:
        raise ApiError(415, "not_json", "send the review as application/json")
    try:
        return Review.model_validate_json(request.get_data())
    except ValidationError as error:
        problems = "; ".join(
            f"`{'.'.join(map(str, e['loc'])) or 'body'}`: {e['msg']}" for e in error.errors()
        )
        raise ApiError(422, "bad_review", problems) from error


def _image(here: Installation, line: str, given: Review) -> str:
    """What stands for the image in the review's id: the same as in the id of its part.

    Raises ApiError where the line has no such image, or where one that is held unread may be meant
    and no `object` says so: it may be another part's.
    """
    parts = here.store.find("parts", {"line": line, "sha256": given.sha256})
    if not parts and not here.home.object(given.sha256).is_file():
        raise ApiError(404, "unknown_image", f"line {line!r} has no image {given.sha256}")
    plain = given.sha256[:16]
    names: dict[str, str] = {one.get("object", ""): one["id"].rpartition("__")[2] for one in parts}
    if not given.object and set(names.values()) - {plain}:
        held = ", ".join(name for name in names if names[name] != plain)
        msg = f"`object`: say which image you mean; {held} may be that of another part"
        raise ApiError(422, "no_object", msg)
    return names.get(given.object, plain)
