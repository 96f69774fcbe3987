"""A template of a Python file, not one yet."""

{% if cookiecutter.with_limit %}
LIMIT = {{ cookiecutter.limit }}
{% endif %}
