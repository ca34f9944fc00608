"""The directory of an exported model -> a repository of the hub, where a user asks."""

import re
from pathlib import Path
from typing import Any

from mtra_jax.errors import InputError, RunError, shown

NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def check(repository: str) -> None:
    """Raises InputError if `repository` is not ORGANISATION/NAME."""
    if not NAME.fullmatch(repository):
        raise InputError(
            f"--push_to_hub {shown(repository)}; expected ORGANISATION/NAME"
        )


def push(directory: Path, repository: str, api: Any = None) -> str:
    """Uploads all files of `directory`; creates a private repository if it does not exist.

    `api`: in place of `huggingface_hub.HfApi()`. Returns the address of the repository.

    Raises:
      InputError: the name is impossible, or there is no valid token.
      RunError: the upload failed, for example because there is no network.
    """
    check(repository)
    import huggingface_hub
    from huggingface_hub import errors

    api = huggingface_hub.HfApi() if api is None else api
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(directory),
            commit_message="Add the model",
        )
    except errors.LocalTokenNotFoundError as error:
        raise InputError(
            f"--push_to_hub {repository}: not logged in to the hub; expected a token "
            "with the right to write: hf auth login, or HF_TOKEN"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError(
            f"--push_to_hub {repository}: HF_HUB_OFFLINE is set; expected a network"
        ) from error
    except Exception as error:  # the client and its transport raise about thirty types
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise InputError(
                f"--push_to_hub {repository}: refused by the hub (status {status}); "
                "expected a token with the right to write there: hf auth login"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"--push_to_hub {repository}: {reason}; {directory} is complete"
        ) from error
    return f"https://huggingface.co/{repository}"
