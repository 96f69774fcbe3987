"""The command ``understudy``: run a supervised program from a terminal.

    understudy run TARGET [--quiet] [--log-format console|json] [--tree] [-- ARGS]
    understudy run TARGET --message TEXT [--model NAME] [--non-interactive]
    understudy chat TARGET [--model NAME] [--non-interactive] [--verbose] [-- ARGS]
    understudy bench TARGET [--seconds 5] [--json] [-- ARGS]

It needs the extra ``cli``. What the program prints and answers goes to stdout; log and progress go to stderr.

Exit codes:
    0       the program came to its end, or was stopped in order by Ctrl-C or SIGTERM
    1       its root collapsed or did not start; the chain of causes is on stderr; or a message was not answered
    2       the arguments make no sense; one sentence on stderr says why
    3       a message was answered, but a person had to be asked, and nobody was there
    130     a second Ctrl-C killed it (143: a second SIGTERM)
"""

from understudy.cli._main import main

__all__ = ["main"]
