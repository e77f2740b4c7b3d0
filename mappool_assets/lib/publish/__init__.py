"""The published dataset: the lake's maps as others read them.

``corpus`` asks the lake what belongs to it, ``published_files`` writes one file of it, ``dataset_card`` describes it,
``publish_target`` is where it goes, ``publisher`` sends the difference between what should be there and what is.
"""
