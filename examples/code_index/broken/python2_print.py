"""Python 2: print was a statement."""


def greet(name):
    print "hello,", name
