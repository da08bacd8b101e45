# Sourced: sets `headers` to every public header as it is included, and `flags` to what compiles them. runtime/cuda.hpp is for nvcc
# alone; the headers that need it include it.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
headers=$(cd "$root" && find include kernels -name '*.hpp' | sed -e 's,^include/,,' -e 's,^kernels/,,' | grep -v '^tenon/runtime/cuda.hpp$' | sort)
flags=(-std=c++20 -O2 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -I"$root/include" -I"$root/kernels")
# What g++ says about passing vectors to functions never applies: no vector crosses a call in a register.
case $("$1" --version | head -1) in *clang*) ;; *) flags+=(-Wno-psabi) ;; esac
if [ -d /usr/include/stb ]; then flags+=(-isystem /usr/include/stb); fi
