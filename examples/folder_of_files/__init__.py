"""What is in the files of a folder, read by a pool of workers.

    understudy run examples/folder_of_files
    understudy run examples/folder_of_files -- SOME/FOLDER --workers 8

:mod:`.program` declares who there is, :mod:`.actors` what they do. ``letters/`` is the folder that is read when no
other is named; one of the letters is no UTF-8.
"""
