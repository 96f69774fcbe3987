"""Python 2: exec was a statement."""


def run(code, namespace):
    exec code in namespace
