"""The paper's questions as pytest files, one each, and the profiles that say what to measure."""
