"""What comes before a server speaks: which program it is, the weights, the reference."""

from __future__ import annotations

import logging

from unisono import EngineUnavailable

from .generations import GENERATIONS, V1, V2, Generation, Reference, recognised
from .link import Link, failed
from .options import GptSovitsSettings
from .servers import Server

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The server answered a command with an error."""


class Preparation:
    """Prepares servers for one model: whoever calls has the server's turn."""

    def __init__(self, link: Link, settings: GptSovitsSettings) -> None:
        self._link = link
        self._settings = settings

    async def recognise(self, server: Server) -> Generation:
        """Find out which program serves, once.

        :raises Unreachable: if none does.
        :raises EngineUnavailable: if it is another one.
        """
        if server.generation is None:
            server.generation, server.fields = await self._asked(server)
        found, wanted = server.generation, self._settings.api
        if wanted not in ("auto", found.name):
            server.generation = None  # it may be another one soon
            raise EngineUnavailable(
                f"{found.script} serves at {server.place}, where the configuration says "
                f"api = {wanted!r}."
            )
        return found

    async def _asked(self, server: Server) -> tuple[Generation, frozenset[str] | None]:
        response = await self._link.get(server, "/openapi.json")
        try:
            found = recognised(response.json()) if response.status_code == 200 else None
        except ValueError:
            found = None
        if found is not None:
            return found
        # Without a command, nothing comes of it: one says 200 and null, the other 400.
        answer = await self._link.get(server, "/control")
        if answer.status_code == 200 and answer.text.strip() == "null":
            return V1, None
        if answer.status_code == 400:
            return V2, None
        if self._settings.api != "auto":
            return GENERATIONS[self._settings.api], None
        raise EngineUnavailable(f"What serves at {server.place} is no GPT-SoVITS.")

    async def use_weights(self, server: Server, weights: tuple[str, str] | None) -> None:
        """Make the server speak with a model's weights.

        :param weights: GPT and SoVITS; None means those that it was started with.
        :raises EngineUnavailable: if it cannot.
        """
        if weights is None:
            if server.switched:
                raise EngineUnavailable(
                    f"Another model has changed the weights of the server at {server.place}: the "
                    "operator should set gpt_weights and sovits_weights for this one, too."
                )
            return
        if weights == server.weights and not self._settings.always_set_weights:
            return
        before, server.weights, server.reference = server.weights, None, None
        server.switched = True
        try:
            await self._set_weights(server, weights)
        except Refused as error:
            # A failed change leaves the server unable to speak until both are set again.
            if before is not None:
                try:
                    await self._set_weights(server, before)
                    server.weights = before
                except Refused:
                    logger.error("%s did not take its former weights again.", server.place)
            raise EngineUnavailable(
                f"The GPT-SoVITS server at {server.place} does not take the weights of this model: "
                "the operator should check gpt_weights and sovits_weights, which are paths there."
            ) from error
        server.weights = weights

    async def _set_weights(self, server: Server, weights: tuple[str, str]) -> None:
        gpt, sovits = weights
        if server.generation is V1:
            both = {"gpt_model_path": gpt, "sovits_model_path": sovits}
            await self._command(server, "/set_model", both)
        else:
            await self._command(server, "/set_gpt_weights", {"weights_path": gpt})
            await self._command(server, "/set_sovits_weights", {"weights_path": sovits})

    async def use_reference(self, server: Server, reference: Reference) -> None:
        """Let the server read a reference before it is to speak with it.

        It tells a path that the server cannot read from a request that is wrong. After a change
        of weights it is necessary, for what the former ones made of it is kept.

        :raises EngineUnavailable: if the server cannot read it.
        """
        if server.generation is not V2 or server.reference == reference.path:
            return
        server.reference = None
        try:
            await self._command(server, "/set_refer_audio", {"refer_audio_path": reference.path})
        except Refused as error:
            what = (
                "the reference recording: the operator should check refs_local_dir and "
                "refs_remote_dir, one directory as both machines see it"
                if reference.name is None
                else f"the recording of the voice {reference.name!r}: the operator should check "
                "its path, and that it has 3 to 10 seconds"
            )
            raise EngineUnavailable(
                f"The GPT-SoVITS server at {server.place} cannot use {what}."
            ) from error
        server.reference = reference.path

    async def _command(self, server: Server, path: str, params: dict[str, str]) -> None:
        response = await self._link.get(server, path, params)
        if response.status_code != 200:
            logger.warning(
                "%s answered %s with %d: %s",
                *(server.place, path, response.status_code, response.text[:500]),
            )
            if response.status_code in (404, 405):  # another program has taken its place
                server.lost()
                raise failed(server, f"answered with status {response.status_code}")
            raise Refused(path)
