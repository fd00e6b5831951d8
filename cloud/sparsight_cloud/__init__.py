"""What runs in a data centre: training, evaluation and the deep half of the detector."""
