#pragma once

#include "emulator/types.hpp"
#include "emulator/runtime_api.hpp"
