// Copies standard input to standard output.
#include <iostream>
#include <vector>

int main()
{
    std::ios::sync_with_stdio(false);
    std::vector<char> buffer(1 << 16);
    while (std::cin.read(buffer.data(), buffer.size()), std::cin.gcount() > 0)
        std::cout.write(buffer.data(), std::cin.gcount());
    return std::cout.flush() ? 0 : 1;
}
