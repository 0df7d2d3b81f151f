"""Files (https://platform.openai.com/docs/api-reference/files): what is to be learnt from, or asked in a batch.

An upload is written as it arrives, and looked at line by line meanwhile; one that does not fit leaves nothing behind.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, delete, get, post
from litestar.params import Parameter
from litestar.response import Stream
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from shoal.control.callers.given import GivenCaller
from shoal.control.callers.lines import NEEDS, Lines
from shoal.control.callers.lists import After, Deleted, ListOf, Order, list_of, no_such_mark
from shoal.control.given import GivenStore
from shoal.control.parameters import Id
from shoal.core.caller import Caller
from shoal.core.errors import Fault
from shoal.storage.files import Draft, File, no_file
from shoal.storage.store import Store

Purpose = Literal["fine-tune", "batch", "evals", "fine-tune-results", "batch_output"]
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]", "user")
_MOST_FIELD_BYTES = 2048
_MOST_NAME = 255
_LEAST_S, _MOST_S = 3600, 30 * 24 * 3600
_UNSHOWN = re.compile(r'[^ -~]|["\\]')


class FileView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file as OpenAI's SDK knows it."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"]
    expires_at: int | None = None


class Upload:
    """A form while it arrives: its fields, and the file, which is written at once. Fields may come behind it."""

    def __init__(self, store: Store, caller: Caller) -> None:
        self._store, self._caller = store, caller
        self._fields: dict[str, bytearray] = {}
        self._lines = Lines()
        self._field: str | None = None  # the one that is arriving; None: the file is
        self.draft: Draft | None = None

    async def take(self, event: "MultipartSegment | bytes | bytearray | None") -> None:
        """The next piece of the form. Errors: Fault."""
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is not None and self._field is not None:
            self._fields[self._field] += event
            if len(self._fields[self._field]) > _MOST_FIELD_BYTES:
                raise Fault("invalid_value", f"{self._field!r} is too long.", param=self._field)
        elif event is not None and self.draft is not None:
            self._lines.feed(bytes(event))
            await self.draft.write(bytes(event))

    async def _begin(self, segment: "MultipartSegment") -> None:
        name = segment.name or ""
        if name == "file" and self.draft is None:
            self._field = None
            filename = _UNSHOWN.sub("_", (segment.filename or "upload")[-_MOST_NAME:]) if segment.filename else "upload"
            self.draft = await self._store.files.begin(self._caller.project_id, self._caller.key_id, filename)
        elif name in _FIELDS and name not in self._fields:
            self._field, self._fields[name] = name, bytearray()
        else:
            raise Fault("unsupported_parameter", f"There is no parameter {name[:64]!r} here, or it came twice.", param=name[:64])

    async def finish(self) -> File:
        """The form has ended. Errors: Fault."""
        purpose = self._text("purpose")
        if not purpose:
            raise Fault("missing_parameter", f"Say what the file is for: {', '.join(NEEDS)}.", param="purpose")
        if purpose not in NEEDS:
            raise Fault("invalid_value", f"{purpose[:64]!r} is none of the purposes: {', '.join(NEEDS)}.", param="purpose")
        if self.draft is None:
            raise Fault("missing_parameter", "The form needs a 'file'.", param="file")
        expires_after_s = self._expiry() or (_MOST_S if purpose == "batch" else None)
        self._lines.check(purpose)
        return await self.draft.finish(purpose, user_id=self._text("user")[:512], expires_after_s=expires_after_s)

    def _expiry(self) -> int | None:
        anchor, seconds = self._text("expires_after[anchor]"), self._text("expires_after[seconds]")
        if not anchor and not seconds:
            return None
        if anchor != "created_at":
            raise Fault("invalid_value", "Files expire after 'created_at'.", param="expires_after.anchor")
        if not seconds.isascii() or not seconds.isdigit() or len(seconds) > 9 or not _LEAST_S <= int(seconds) <= _MOST_S:
            raise Fault("invalid_value", f"Files expire after {_LEAST_S} to {_MOST_S} seconds.", param="expires_after.seconds")
        return int(seconds)

    def _text(self, name: str) -> str:
        try:
            return self._fields.get(name, bytearray()).decode()
        except UnicodeDecodeError:
            raise Fault("invalid_value", f"{name!r} is no UTF-8.", param=name) from None


@post("/files", status_code=200)
async def create_file(request: Request[Any, Any, Any], caller: GivenCaller, store: GivenStore) -> FileView:
    """Upload a file."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Fault("unsupported_media_type", "A file is uploaded as 'multipart/form-data', with its boundary.")
    upload = Upload(store, caller)
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=len(_FIELDS) + 2, strict=True) as parser:
            async for chunk in request.stream():
                for event in parser.parse(chunk):
                    await upload.take(event)
        return show(await upload.finish())
    except MultipartError as error:
        await _discard(upload)
        raise Fault("invalid_request", f"The form cannot be read: {error}.") from None
    except BaseException:
        await _discard(upload)
        raise


async def _discard(upload: Upload) -> None:
    if upload.draft is not None:
        await upload.draft.discard()


@get("/files")
async def list_files(
    caller: GivenCaller,
    store: GivenStore,
    purpose: Purpose | None = None,
    after: After = None,
    limit: Annotated[int, Parameter(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
) -> ListOf:
    """List the project's files, newest first."""
    mark = None if after is None else (await _find(store, caller, after, no_such_mark(after))).mark
    rows = await store.files.page(caller.project_id, purpose=purpose, after=mark, limit=limit + 1, newest_first=order == "desc")
    shown = rows[:limit]
    return list_of([show(one) for one in shown], [one.id for one in shown], len(rows) > limit)


@get("/files/{file_id:str}")
async def get_file(file_id: Id, caller: GivenCaller, store: GivenStore) -> FileView:
    """Show one."""
    return show(await _find(store, caller, file_id))


@get("/files/{file_id:str}/content")
async def get_content(file_id: Id, caller: GivenCaller, store: GivenStore) -> Stream:
    """A file's bytes."""
    file = await _find(store, caller, file_id)

    async def parts() -> AsyncIterator[bytes]:
        async for part in store.files.parts(file.id):
            yield part

    headers = {"content-disposition": f'attachment; filename="{file.filename}"', "content-length": str(file.bytes)}
    return Stream(parts(), headers=headers, media_type="application/octet-stream")


@delete("/files/{file_id:str}", status_code=200)
async def delete_file(file_id: Id, caller: GivenCaller, store: GivenStore) -> Deleted:
    """Delete one."""
    if not await store.files.delete(caller.project_id, file_id):
        raise no_file(file_id)
    return Deleted(file_id, "file")


HANDLERS = [create_file, list_files, get_file, get_content, delete_file]


def show(file: File) -> FileView:
    """A file as it is shown."""
    return FileView(
        id=file.id,
        object="file",
        bytes=file.bytes,
        created_at=file.created_at_ms // 1000,
        filename=file.filename,
        purpose=file.purpose,
        status="processed",
        expires_at=None if file.expires_at_ms is None else file.expires_at_ms // 1000,
    )


async def _find(store: Store, caller: Caller, file_id: str, missing: Fault | None = None) -> File:
    found = await store.files.find(caller.project_id, file_id)
    if found is None:
        raise missing or no_file(file_id)
    return found
