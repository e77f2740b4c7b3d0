"""The published dataset: the lake's maps as others read them.

``corpus`` asks the lake what belongs to it, less what ``take_down`` names; ``published_files`` writes one file of it,
``datacomp_subset`` the list of all its uids, ``configurations`` what else is published beside the maps and is made
elsewhere, ``dataset_card`` describes it; ``targets`` says where it goes (a folder:
``publish_target``, the Hub: ``hub_target``), ``publisher`` sends the difference between what should be there and what
is. The ``model_*`` modules do the same for the classifier.
"""
