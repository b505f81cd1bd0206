"""What a person decides about a conflict, and says of a new agent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from blocks.forms import ExactField
from blocks.lineends import keep_line_endings
from blocks.models import Memory
from blocks.purge import LABEL_MARK, MARK, Secret
from blocks.validation import problems
from memoryhub.forms import StyledForm
from syncjobs.conflicts import RESOLUTIONS, fold
from syncjobs.models import Conflict

AGENT_NAME = re.compile(r"[\w '-]+")  # Letta answers another name with 500


class DecisionForm(forms.Form):
    """how: see `conflicts.decide`; seen_number, seen_sides: what was on the page. A field for each other one that
    differs, `other_` before its name: for an edited state."""

    how = forms.ChoiceField(choices=[(how, how) for how in (*RESOLUTIONS, "third")])
    seen_number = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    seen_sides = forms.CharField(required=False, widget=forms.HiddenInput)
    text = ExactField(widget=forms.Textarea(attrs={"class": "field text", "rows": 14}))

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        conflict: Conflict,
        memory: Memory,
        shown: str = "",
        text: str = "",
        others: Mapping[str, Any] | None = None,
    ) -> None:
        """memory: as it is now. text, others: what to begin with; for the others the hub's, where it has one."""
        self.conflict, self.memory = conflict, memory
        _, self.clashes = fold(conflict, memory)
        self.names = [name for name in self.clashes if isinstance(memory.state[name], (str, int)) and name != "text"]
        initial = {"seen_number": memory.number, "seen_sides": shown, "text": text}
        super().__init__(data, initial=initial | {f"other_{name}": value for name, value in (others or {}).items()})
        for name in self.names:
            self.fields[f"other_{name}"] = self._field(name)

    def _field(self, name: str) -> forms.Field:
        ours, theirs = self.memory.state[name], self.conflict.side.get(name, "")
        if isinstance(ours, int):
            widget: forms.Widget = forms.NumberInput(attrs={"class": "field num", "form": "decide"})
            return forms.IntegerField(initial=ours, required=False, label=name.capitalize(), widget=widget)
        lines = name == "description" or any("\n" in text or "\r" in text for text in (ours, theirs))
        kind, rows = (forms.Textarea, {"rows": 2}) if lines else (forms.TextInput, {"autocomplete": "off"})
        widget = kind(attrs={"class": "field", "form": "decide", **rows})
        return ExactField(initial=ours or theirs, label=name.replace("_", " ").capitalize(), widget=widget)

    @property
    def others(self) -> list[forms.BoundField]:
        return [self[f"other_{name}"] for name in self.names]

    def clean_text(self) -> str:
        return keep_line_endings(self.memory.text, self.cleaned_data["text"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("how") == "edited" and "text" in self.clashes and "text" not in self.data:
            self.add_error("text", "the edited text did not arrive.")
        data["others"] = {}
        if data.get("how") == "edited":
            data["others"] = said = {name: self._said(name) for name in self.names if f"other_{name}" in self.data}
            for name, error in problems(said, self.memory.state, self.memory.project, self.memory).items():
                self.add_error(f"other_{name}" if name in said else None, error)
        return data

    def _said(self, name: str) -> Any:
        value, now = self.cleaned_data.get(f"other_{name}"), self.memory.state[name]
        return keep_line_endings(now, value) if isinstance(value, str) else now if value is None else value


class SureForm(forms.Form):
    """What cannot be undone is asked twice."""

    sure = forms.BooleanField(
        label="I know that this cannot be undone", error_messages={"required": "Tick this first: it cannot be undone."}
    )


class HiddenAgain(forms.Textarea):
    """A field whose content is never sent back."""

    def format_value(self, value: Any) -> None:
        return None


class SecretForm(SureForm):
    """A piece of text that is to go for good."""

    SHORTEST = 4
    secret = ExactField(
        label="The text to erase",
        help_text="Exactly as it stands there, capitals too. It is neither stored nor logged.",
        widget=HiddenAgain(attrs={"class": "field", "rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    everywhere = forms.BooleanField(
        required=False,
        initial=True,
        label="In every memory of this project, and in what its agents keep here beside them; not only in this",
    )
    field_order = ("secret", "everywhere", "sure")

    def clean_secret(self) -> Secret:
        text = self.cleaned_data["secret"].strip()
        if len(text) < self.SHORTEST:
            raise ValidationError(f"At least {self.SHORTEST} characters: less would be found by chance.")
        if text in MARK or text in LABEL_MARK:
            raise ValidationError("This is what is put in the place of what was purged.")
        return Secret(text)


class AgentForm(StyledForm):
    """A new agent. on_letta: it is made on a Letta server, which takes few characters in a name."""

    name = forms.CharField(max_length=200)
    model = forms.CharField(
        max_length=200,
        initial="letta/letta-free",
        help_text="As the Letta server calls it. letta/letta-free needs no provider.",
    )
    digest = forms.BooleanField(required=False, initial=True)

    def __init__(self, *args: Any, on_letta: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_letta = on_letta
        self.fields["name"].widget.attrs["autocomplete"] = "off"
        if not on_letta:
            self.fields["model"].help_text = "Kept for whoever asks; no model runs in the hub."

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if self.on_letta and not AGENT_NAME.fullmatch(name):
            raise ValidationError("Letta takes letters, digits, blanks, _, - and ' in an agent's name.")
        return name
