"""What people type, and what of it changes a memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from blocks import agents
from blocks.lineends import as_submitted, keep_line_endings, to_lf
from blocks.models import Memory
from blocks.state import DEFAULT_KIND, DEFAULT_LIMIT, DEFAULTS, State
from blocks.validation import check_kind, check_label, check_length, check_limit, check_storable, check_tags
from memoryhub.models import Project

SEPARATOR = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|\n|$)|([^,\n]*)(?:,|\n|$)')


def join_tags(tags: Iterable[str]) -> str:
    """Tags as a field shows them: separated by commas, quoted where they hold one (or a quote, or a line end)."""
    return ", ".join('"' + tag.replace('"', '""') + '"' if re.search(r'[,"\r\n]', tag) else tag for tag in tags)


def split_tags(text: str) -> list[str]:
    """The tags in what a person typed; the inverse of `join_tags`."""
    text, tags, place = to_lf(text), [], 0
    while place < len(text):
        match = SEPARATOR.match(text, place)
        if match is None or match.end() == place:
            break
        quoted, plain = match.groups()
        tags.append(plain if quoted is None else quoted.replace('""', '"'))
        place = match.end()
    return [tag.strip() for tag in tags if tag.strip()]


class ExactField(forms.CharField):
    """A text field that keeps every character, and says in a sentence which it cannot."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, required=False, **kwargs)
        self.validators = [check_storable]


def line() -> forms.TextInput:
    return forms.TextInput(attrs={"class": "field", "autocomplete": "off"})


class MemoryForm(forms.Form):
    """The fields of a memory that people edit.

    base: the state the form was filled with, which decides what the person changed: a browser does not give every
    text back as it got it. current: the state as it is now.
    """

    title = ExactField(widget=line())
    text = ExactField(widget=forms.Textarea(attrs={"class": "field text", "rows": 18, "spellcheck": "true"}))
    label = ExactField(
        widget=line(),
        help_text="The block's name on Letta: 1 to 50 of letters, digits, _ - and /. Agents know it by this.",
    )
    description = ExactField(
        widget=forms.Textarea(attrs={"class": "field", "rows": 2}),
        help_text="What this block is for. Agents read it; empty: the title.",
    )
    tags = ExactField(
        widget=forms.Textarea(attrs={"class": "field", "rows": 2}),
        help_text='Separated by commas. Quote a tag that has a comma in it: "a, b".',
    )
    kind = ExactField(widget=forms.TextInput(attrs={"class": "field", "list": "kinds", "autocomplete": "off"}))
    limit = forms.IntegerField(
        required=False,
        widget=forms.NumberInput(attrs={"class": "field num", "min": 1}),
        help_text="Characters the text may have.",
    )
    read_only = forms.BooleanField(required=False, label="Read-only for agents")
    shared = forms.BooleanField(
        required=False, initial=True, label="Shared with Letta", help_text="Unticked: kept local, and gets no block."
    )
    unshare_sure = forms.BooleanField(required=False, label="Delete the block on Letta")
    based_on = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Any = None,
        *,
        project: Project,
        memory: Memory | None = None,
        base: State | None = None,
        proposal: Mapping[str, Any] | None = None,
    ) -> None:
        self.project, self.memory = project, memory
        self.base: State = base or dict(DEFAULTS)
        initial = {**self.base, "tags": join_tags(self.base["tags"]), "based_on": memory.number if memory else None}
        initial["shared"] = memory.shared if memory else True
        super().__init__(data, initial={**initial, **(proposal or {})})
        for name in self.fields:
            self.fields[name].widget.attrs.setdefault("id", f"id_{name}")

    def changed(self, name: str) -> bool:
        """Whether the person touched a text field, seen through what a browser does to it."""
        given, shown = str(self.data.get(self.add_prefix(name), "")), str(self.initial[name])
        if isinstance(self.fields[name].widget, forms.Textarea):
            return as_submitted(given) != as_submitted(shown)
        return given != shown.replace("\r", "").replace("\n", "")

    def clean_title(self) -> str:
        return self._kept("title")

    def clean_text(self) -> str:
        return keep_line_endings(self.base["text"], self.cleaned_data["text"])

    def clean_description(self) -> str:
        return keep_line_endings(self.base["description"], self.cleaned_data["description"])

    def clean_kind(self) -> str:
        kind = self._kept("kind")
        if self.changed("kind") and not kind.strip():
            return DEFAULT_KIND
        check_kind(kind)
        return kind.strip() if self.changed("kind") else kind

    def clean_label(self) -> str:
        label = self._kept("label")
        if not self.changed("label") or (not label and self.memory is None):
            return label
        check_label(label, self.project, self.memory)
        return label

    def clean_tags(self) -> list[str]:
        if not self.changed("tags"):
            return list(self.base["tags"])
        known = {to_lf(tag): tag for tag in self.base["tags"]}
        tags = list(dict.fromkeys(known.get(tag, tag) for tag in split_tags(self.cleaned_data["tags"])))
        check_tags(tags, self.base["tags"])
        return tags

    def clean_unshare_sure(self) -> bool:
        """Taking a memory off Letta deletes its block, also under the agents that have it: that is asked first."""
        sure: bool = self.cleaned_data["unshare_sure"]
        if self.sharing is False and not sure and (reach := self._unsharing_reaches()):
            raise ValidationError(
                f"{reach} Tick this to delete it there; the memory stays here and in the local store."
            )
        return sure

    def _unsharing_reaches(self) -> str:
        """What would be deleted on Letta, or lost by agents; '' where nothing would."""
        if self.memory is None:
            return ""
        there = self.memory.replicas.filter(connection__side="letta").exclude(external_id="")
        replica = there.select_related("connection").first()
        names = [agent["name"] for agent in agents.names_of(self.memory)]
        if replica:
            names += [str(agent["name"]) for agent in replica.connection.agents.get(replica.external_id, [])]
        block = f"the block {replica.external_id}" if replica else "the block"
        if not names:
            return f"Without sharing, {block} goes." if replica else ""
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return f"Without sharing, {block} goes, and these agents lose it: {shown}."

    def clean_limit(self) -> int:
        limit = self.cleaned_data["limit"]
        if limit is None:
            return self.base["limit"] if self.memory is None else DEFAULT_LIMIT
        if limit != self.base["limit"]:
            check_limit(limit)
        return int(limit)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        text, limit = data.get("text"), data.get("limit")
        touched = text != self.base["text"] or limit != self.base["limit"]
        if text is not None and limit is not None and touched:
            try:
                check_length(text, limit)
            except ValidationError as error:
                self.add_error("text", error)
        if self.memory is None and not data.get("title") and not text and not self.errors:
            self.add_error("text", "Write a title or a text.")
        return data

    def _kept(self, name: str) -> str:
        """The base's own value where the person left the field alone: a one-line field drops line endings."""
        return str(self.cleaned_data[name] if self.changed(name) else self.base[name])

    @property
    def state(self) -> State:
        """All fields as the person wants them."""
        names = ("title", "text", "label", "description", "tags", "kind", "limit", "read_only")
        return {name: self.cleaned_data[name] for name in names}

    @property
    def changes(self) -> State:
        """Only the fields that differ from the base."""
        return {name: value for name, value in self.state.items() if value != self.base[name]}

    @property
    def sharing(self) -> bool | None:
        """The wish to share or not, None where it is as it was."""
        wanted: bool = self.cleaned_data["shared"]
        return None if self.memory and wanted == self.initial["shared"] else wanted

    def proposal(self, current: Memory) -> dict[str, Any]:
        """Values for a form on top of `current`: the person's own changes, and for all else what is there now."""
        values = {**current.state, **self.changes}
        shared = current.shared if self.sharing is None else self.sharing
        return values | {"tags": join_tags(values["tags"]), "shared": shared}
