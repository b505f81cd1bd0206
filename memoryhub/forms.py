"""What people say about a project, its members and its connections."""

from __future__ import annotations

import unicodedata
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from memoryhub import projects
from memoryhub.access import may_choose_scope
from memoryhub.models import Direction, LettaServer, LocalStore, Membership, Project, Role, SyncMode

BUILTIN = "The built-in server: the hub itself"
NOT_YOURS = "Only staff, and owners whom staff named as adopters of this {thing}, may change this."


def validate_rule(rule: str) -> None:
    """'', 'tag:NAME', 'label:PREFIX' or 'all'."""
    kind, _, name = rule.partition(":")
    if rule not in ("", "all") and not (kind in ("tag", "label") and name):
        raise ValidationError("Leave it empty, or write tag:NAME, label:PREFIX or all.")


def check_records_are_free(project: Project | None, store: LocalStore | None, record_project: str) -> None:
    """Refuse a project_name that another project on the same store takes its records from."""
    if store is None:
        return
    for other in Project.objects.filter(local_store=store):
        if other != project and other.record_project == record_project:
            raise ValidationError(
                f"The project “{other}” already takes the records named “{record_project}” from {store}. "
                "Choose another project name or another store."
            )


def validate_agent(name: str) -> None:
    """A name for an agent: not that of a person, who would seem to be the author of what the agent writes."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValidationError("Use characters that can be seen.")
    if User.objects.filter(username__iexact=name).exists():
        raise ValidationError(f"“{name}” is a person's account here: give the agent a name of its own.")


class StyledForm(forms.Form):
    """Fields as the pages draw them: each names its help and its error for screen readers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if not isinstance(field.widget, (forms.CheckboxInput, forms.HiddenInput)):
                field.widget.attrs.setdefault("class", "field")


class ProjectForm(StyledForm):
    name = forms.CharField(max_length=100)
    description = forms.CharField(max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2}))


class NewProjectForm(ProjectForm):
    name = forms.CharField(
        max_length=100,
        help_text="Its address and its marks on the servers are made from the name, and never change.",
    )
    letta_server = forms.ModelChoiceField(
        LettaServer.objects.all(), required=False, empty_label=BUILTIN, label="Letta server"
    )
    local_store = forms.ModelChoiceField(
        LocalStore.objects.all(), required=False, empty_label="None: memories live in the hub only"
    )

    @staticmethod
    def proposal() -> dict[str, Any]:
        """The defaults: blocks served by the hub, records in its own store."""
        return {"local_store": LocalStore.objects.ensure_builtin()}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("name") and data.get("local_store"):
            try:
                check_records_are_free(None, data["local_store"], projects.free_slug(data["name"]))
            except ValidationError as error:
                self.add_error("local_store", error)
        return data


class ConnectionsForm(StyledForm):
    """How a project is connected. `changed_data` says whether a sync has to follow."""

    letta_server = forms.ModelChoiceField(
        LettaServer.objects.all(), required=False, empty_label=BUILTIN, label="Letta server"
    )
    letta_direction = forms.ChoiceField(choices=Direction, label="Direction")
    letta_rule = forms.CharField(
        max_length=120,
        required=False,
        label="Which blocks",
        validators=[validate_rule],
        help_text="Empty: blocks with this project's tag. Or tag:NAME, label:PREFIX, all.",
    )
    local_store = forms.ModelChoiceField(LocalStore.objects.all(), required=False, empty_label="None")
    local_direction = forms.ChoiceField(choices=Direction, label="Direction")
    local_project = forms.CharField(
        max_length=200, required=False, label="Project name of the records", help_text="Empty: {slug}. * takes all."
    )
    sync_mode = forms.ChoiceField(choices=SyncMode, label="Sync by itself")
    sync_minutes = forms.IntegerField(
        min_value=1, max_value=10_080, label="N, in minutes", help_text="Counts for “every N minutes”."
    )

    def __init__(self, *args: Any, project: Project, user: User, **kwargs: Any) -> None:
        self.project, self.user = project, user
        initial = {name: getattr(project, name) for name in self.base_fields}
        super().__init__(*args, initial=initial, **kwargs)
        self.fields["local_project"].help_text = f"Empty: {project.slug}. * takes all records of the store."
        self._fix("letta_rule", project.letta_server, "server")
        self._fix("local_project", project.local_store, "store")

    def _fix(self, name: str, server: LettaServer | LocalStore | None, thing: str) -> None:
        """A field that this person may not change is shown, with the reason."""
        if not may_choose_scope(self.user, server):
            self.fields[name].disabled = True
            self.fields[name].help_text = NOT_YOURS.format(thing=thing)

    def clean_local_project(self) -> str:
        name = str(self.cleaned_data["local_project"])
        return "" if name == self.project.slug else name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        self._scope_on("letta_rule", "letta_server", "server")
        self._scope_on("local_project", "local_store", "store")
        if "local_project" in data:
            try:
                check_records_are_free(
                    self.project, data.get("local_store"), data["local_project"] or self.project.slug
                )
            except ValidationError as error:
                self.add_error("local_store" if self.fields["local_project"].disabled else "local_project", error)
        return data

    def _scope_on(self, name: str, server_name: str, thing: str) -> None:
        """What was granted on one server does not hold on another: there the default counts."""
        data = self.cleaned_data
        server = data.get(server_name)
        if not data.get(name) or server == getattr(self.project, server_name) or may_choose_scope(self.user, server):
            return
        if self.fields[name].disabled:
            data[name] = ""
        else:
            self.add_error(name, NOT_YOURS.format(thing=thing))

    def changes(self) -> dict[str, Any]:
        """The fields that are to be saved with another value than they have."""
        return {name: value for name, value in self.cleaned_data.items() if value != getattr(self.project, name)}


class InviteForm(StyledForm):
    who = forms.CharField(max_length=254, label="Username or e-mail address")
    role = forms.ChoiceField(choices=Role, initial=Role.EDITOR)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        self.project = project
        super().__init__(*args, **kwargs)

    def clean_who(self) -> User:
        name = str(self.cleaned_data["who"])
        account = projects.find_account(name)
        if account is None:
            raise ValidationError(
                f"No account has the username or e-mail address “{name}”. "
                "Whoever administers the hub makes accounts; then invite them here."
            )
        if Membership.objects.filter(project=self.project, user=account).exists():
            raise ValidationError(f"{account.get_username()} is a member already; change the role in the list.")
        return account


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role)


class TokenForm(StyledForm):
    """A new token; `role`: that of the person who makes it, which is the most it may have."""

    name = forms.CharField(
        max_length=100,
        validators=[validate_agent],
        label="Name of the agent",
        help_text="Such as Claude or ci-runner. The history shows it as the author.",
    )
    role = forms.ChoiceField(help_text="Viewers read; editors also write and sync.")
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=3650,
        label="Expires after, in days",
        help_text="Empty: it does not expire.",
    )

    def __init__(self, *args: Any, role: Role, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = [Role.VIEWER] if role == Role.VIEWER else [Role.EDITOR, Role.VIEWER]
        self.fields["role"].choices = [(one.value, one.label) for one in roles]  # type: ignore[attr-defined]


class KeyedForm(forms.ModelForm):
    """A server whose key goes in and never comes out: the field is always empty."""

    new_api_key = forms.CharField(
        required=False,
        strip=True,
        max_length=2000,
        label="API key",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Never shown. Empty keeps the one that is stored.",
    )
    clear_api_key = forms.BooleanField(required=False, label="Remove the stored key")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = bool(self.instance.api_key_token)
        self.fields["new_api_key"].help_text = (
            "A key is stored; it is never shown. Empty keeps it." if stored else "None is stored. It is never shown."
        )

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or {}
        if data.get("new_api_key") and data.get("clear_api_key"):
            self.add_error("clear_api_key", "Either give a new key or remove the stored one.")
        return data

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data["new_api_key"]:
            self.instance.api_key = self.cleaned_data["new_api_key"]
        elif self.cleaned_data["clear_api_key"]:
            self.instance.api_key = ""
        return super().save(commit)


class ProjectAdminForm(forms.ModelForm):
    """The same rules as on the project's own pages."""

    def clean_letta_rule(self) -> str:
        rule = str(self.cleaned_data["letta_rule"])
        validate_rule(rule)
        return rule

    def clean(self) -> dict[str, Any] | None:
        data = super().clean() or {}
        slug = data.get("slug") or self.instance.slug
        try:
            check_records_are_free(self.instance, data.get("local_store"), data.get("local_project") or slug)
        except ValidationError as error:
            self.add_error("local_project", error)
        return data
