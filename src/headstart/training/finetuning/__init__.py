"""Fine-tuning: training the stages above the cut, from cached trunk features or from images."""
