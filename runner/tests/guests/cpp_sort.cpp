// Sorts the lines of standard input by their bytes.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

int main()
{
    std::ios::sync_with_stdio(false);
    std::vector<std::string> lines;
    for (std::string line; std::getline(std::cin, line);)
        lines.push_back(line);
    std::ranges::sort(lines);
    for (const auto &line : lines)
        std::cout << line << '\n';
    return std::cout.flush() ? 0 : 1;
}
