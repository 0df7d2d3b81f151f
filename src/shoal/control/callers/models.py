"""Deleting a fine-tuned model (https://platform.openai.com/docs/api-reference/models/delete): a student of the caller's organisation."""

from typing import Annotated

from litestar import delete
from litestar.params import Parameter

from shoal.control import students
from shoal.control.callers.given import GivenCaller
from shoal.control.callers.lists import Deleted
from shoal.control.given import GivenOptions, GivenStore
from shoal.core.errors import Fault

Model = Annotated[str, Parameter(min_length=1, max_length=256)]


@delete("/models/{model:str}", status_code=200)
async def delete_model(model: Model, caller: GivenCaller, store: GivenStore, options: GivenOptions) -> Deleted:
    """Delete a version of a student, or, by its alias, all of them."""
    try:
        name = await students.find_name(options, caller.org_id, model)
    except Fault:
        text = f"There is no fine-tuned model {model[:100]!r} of yours on this machine; other models are not yours to delete."
        raise Fault("model_not_found", text, param="model") from None
    await students.remove(options, store, caller.key_id, caller.org_id, name)
    return Deleted(model, "model")


HANDLERS = [delete_model]
