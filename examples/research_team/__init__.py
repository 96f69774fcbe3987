"""A team of agents with scripted models: two researchers, a critic, and a chief who asks them; one crash is survived.

    understudy run examples/research_team
    understudy tree examples/research_team

:mod:`.program` declares who there is, :mod:`.agents` what they do, and :mod:`.scripts` what their models say. No model
is called: to call one, give the agents a ``PydanticAIModel``.
"""
