"""A support desk: a clerk with a model, and a supervisor, a person, who is asked before money is paid back.

    understudy chat examples/support_desk
    understudy run examples/support_desk --message "Where is order 7?"

:mod:`.program` declares who there is, :mod:`.agents` what they do, and :mod:`.people` what the supervisor says here,
where nobody sits. No model is called: for one, add ``--model openai:gpt-5-mini``.
"""
