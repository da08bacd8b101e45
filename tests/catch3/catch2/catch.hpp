// Stands in for Catch2 2.x's single header where version 3 is installed.
#pragma once
#include <catch2/catch_all.hpp>
using Catch::Approx;
