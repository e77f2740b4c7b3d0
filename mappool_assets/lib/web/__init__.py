"""Files from the servers of strangers, under rules that hold whatever they answer."""
