"""A meeting of five agents with scripted models: one crashes in its turn, and one declines and comes late after all.

    understudy run examples/meeting
    understudy tree examples/meeting

:mod:`.program` declares who there is and how the meeting goes, :mod:`.agents` what its members do, :mod:`.plan` what
they decide about, and :mod:`.scripts` what their models say. No model is called: to call one, give the agents a
``PydanticAIModel``.
"""
