"""What a person decides about a conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from blocks.forms import ExactField
from blocks.lineends import keep_line_endings
from blocks.models import Memory
from syncjobs.conflicts import RESOLUTIONS


class DecisionForm(forms.Form):
    """how: see `conflicts.resolve`; seen_number: the memory's revision that was on the page."""

    how = forms.ChoiceField(choices=[(how, how) for how in RESOLUTIONS])
    seen_number = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    text = ExactField(widget=forms.Textarea(attrs={"class": "field text", "rows": 14}))

    def __init__(self, data: Mapping[str, Any] | None = None, *, memory: Memory, proposal: str = "") -> None:
        self.memory = memory
        super().__init__(data, initial={"seen_number": memory.number, "text": proposal})

    def clean_text(self) -> str:
        return keep_line_endings(self.memory.text, self.cleaned_data["text"])
