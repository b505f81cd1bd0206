"""The APIs for agents and scripts, as far as they are about memories."""
