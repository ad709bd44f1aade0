"""Where orders are given: for who may, and by a form of their own session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from guard.admin.impact_words import impact_lines
from guard.dashboard.forms import read_form, refuse_foreign
from guard.dashboard.orders import ALL, ORDERS
from guard.dashboard.queries import Query
from guard.dashboard.rendering import link
from guard.errors import ConfigError, KeyOrderError, StoreError, UnknownCampaignError, UnknownHolderError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from guard.admin import Operator
    from guard.admin.acts import Act
    from guard.admin.asking import Asker
    from guard.dashboard.doors import Doors
    from guard.dashboard.orders import Order
    from guard.dashboard.sessions import Sessions, Viewer
    from guard.dashboard.showing import Showing


class Desk:
    """Takes orders."""

    def __init__(self, asker: Asker, showing: Showing, doors: Doors, sessions: Sessions) -> None:
        self._asker = asker
        self._showing = showing
        self._doors = doors
        self._sessions = sessions

    async def order(self, request: Request) -> Response:
        """Show the form of an order, or what it would change, or carry it out."""
        viewer = self._doors.viewer(request)
        if viewer is None:
            return self._doors.ask_to_log_in(request)
        if not self._showing.may_order(viewer):
            raise HTTPException(
                403,
                "No orders are taken here: guard dashboard needs --orders, and the token the role operate.",
            )
        order = ORDERS.get(request.path_params["order"])
        if order is None:
            raise HTTPException(404, "There is no such order.")
        response = await self._answer(order, request, viewer)
        self._doors.renew(request, response, viewer)
        return response

    async def _answer(self, order: Order, request: Request, viewer: Viewer) -> Response:
        if request.method != "POST":
            query = Query(request.query_params)
            try:
                name = query.text("name", ALL if order.subject == "all" else "")
                preset = {field.name: query.text(field.name, field.preset) for field in order.fields}
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
            return self._form(order, request, viewer, name, preset)
        refuse_foreign(request)
        form = await read_form(request)
        if not self._sessions.may_send(viewer, form.get("form_token", "")):
            raise HTTPException(403, "This form is of another session. Open it again.")
        name, step = form.get("name", "").strip(), form.get("step", "")
        given = {field.name: form.get(field.name, "").strip() for field in order.fields}
        try:
            read = order.read(form)
            if step == "give":
                await self._asker.order(lambda operator: self._give(order, operator, viewer, name, read))
                return RedirectResponse(request.scope["root_path"] + _after(order, name), 303)
            act = await self._asker.ask(
                lambda operator: self._give(order, operator, viewer, name, read, dry_run=True)
            )
        except StoreError as error:
            raise HTTPException(503, f"The store does not answer ({error.kind}): {error}") from error
        except (ValueError, ConfigError, KeyOrderError, UnknownHolderError, UnknownCampaignError) as error:
            return self._form(order, request, viewer, name, given, why=str(error))
        return self._form(order, request, viewer, name, read, act=act, impact=await self._impact(order, name))

    async def _impact(self, order: Order, name: str) -> list[str]:
        """What an order would have refused lately, in sentences; none for one that refuses nothing."""
        if not order.refuses:
            return []

        async def ask(operator: Operator) -> list[str]:
            impact = await operator.impact_of_block(await operator.resolve(name))
            return [*impact_lines(impact), *impact.notes]

        try:
            return await self._asker.ask(ask)
        except StoreError:  # it reads far more than the order does
            return ["What it would have refused in the last hours is not known within the time of a page."]

    async def _give(
        self,
        order: Order,
        operator: Operator,
        viewer: Viewer,
        name: str,
        given: dict[str, str],
        *,
        dry_run: bool = False,
    ) -> Act:
        return await order.give(operator.orders.given(viewer.name, dry_run=dry_run), operator, name, given)

    def _form(
        self,
        order: Order,
        request: Request,
        viewer: Viewer,
        name: str,
        given: dict[str, str],
        *,
        why: str = "",
        act: Act | None = None,
        impact: Sequence[str] = (),
    ) -> Response:
        shown: dict[str, Any] = {"order": order, "name": name, "given": given, "why": why}
        shown |= {"act": act, "impact": impact}
        return self._showing.order(request, viewer, 422 if why else 200, **shown)


def _after(order: Order, name: str) -> str:
    """The page that shows what an order has changed."""
    if order.subject == "all":
        return link("/", done=order.name)
    if order.subject == "key":
        return link("/keys", done=order.name)
    if order.subject == "campaign":
        return link(f"/campaigns/{quote(name, safe='')}", done=order.name)
    return link("/holder", name=name, done=order.name)
