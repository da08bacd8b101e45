// A user's own header: a function in one translation unit, called from another.
#pragma once

int threads_elsewhere();
// Throws tenon::ValueError, through the border between two objects.
void fail_elsewhere();
