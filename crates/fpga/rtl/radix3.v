// The radix-3 stage of all lanes, decimation in frequency: points a third of the frame apart become three sums over 4, the
// second and third of which are turned and come one and two thirds later. One point a lane in each enabled cycle.
module radix3 #(
    parameter LANES = 8,
    parameter W = 27
) (
    input clk,
    input rst,
    input en,
    input bypass,  // steady while frames are under way
    input [7:0] third,  // 128, 64 or 8
    input [2:0] stride,  // roots of 384 points are taken 2^stride apart
    input first,  // x is the first point of a frame
    input [LANES*2*W-1:0] x,
    output reg first_out,
    output reg [LANES*2*W-1:0] y
);
    localparam BUS = LANES * 2 * W;
    localparam signed [17:0] SINE = 113512;  // sqrt(3/4) in units of 2^-17

    reg [1:0] block;
    reg [6:0] index;
    reg armed;
    wire [1:0] now = first ? 2'd0 : block;
    wire [6:0] at = first ? 7'd0 : index;
    wire wraps = {1'b0, at} == third - 1'b1;

    // The thirds that wait. What is written comes four cycles late, which the shortest third, 8, leaves time for.
    reg [BUS-1:0] one[0:127];
    reg [BUS-1:0] two[0:127];

    reg [BUS-1:0] a1, b1, c1, a2, b2, c2, a3, b3, c3;
    reg [1:0] now1, now2, now3, now4;
    reg [6:0] at1, at2, at3, at4;
    reg first1, first2, first3, first4;
    reg [BUS-1:0] out, to_one, to_two;
    wire [BUS-1:0] sum, second, third_sum;

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : lane
            wire signed [W-1:0] b_re = b1[2*i*W+:W], b_im = b1[(2*i+1)*W+:W];
            wire signed [W-1:0] c_re = c1[2*i*W+:W], c_im = c1[(2*i+1)*W+:W];
            wire signed [W-1:0] a_re = a2[2*i*W+:W], a_im = a2[(2*i+1)*W+:W];
            wire signed [W:0] d_re = b_re - c_re + 1, d_im = b_im - c_im + 1;
            reg signed [W:0] s_re, s_im;  // b + c
            reg signed [W-1:0] h_re, h_im;  // (b - c) / 2
            reg signed [W+1:0] m_re, m_im, t_re, t_im;  // 2 a - b - c; a + b + c
            reg signed [W+17:0] r_re, r_im;  // the difference times the sine
            wire signed [W+18:0] up_re = (m_re <<< 15) + r_im + 131072, up_im = (m_im <<< 15) - r_re + 131072;
            wire signed [W+18:0] down_re = (m_re <<< 15) - r_im + 131072, down_im = (m_im <<< 15) + r_re + 131072;
            always @(posedge clk)
                if (en) begin
                    s_re <= b_re + c_re;
                    s_im <= b_im + c_im;
                    h_re <= d_re[W:1];
                    h_im <= d_im[W:1];
                    m_re <= (a_re <<< 1) - s_re;
                    m_im <= (a_im <<< 1) - s_im;
                    t_re <= a_re + s_re + 2;
                    t_im <= a_im + s_im + 2;
                    r_re <= h_re * SINE;
                    r_im <= h_im * SINE;
                end
            assign sum[2*i*W+:2*W] = {t_im[W+1:2], t_re[W+1:2]};
            assign second[2*i*W+:2*W] = {up_im[W+17:18], up_re[W+17:18]};
            assign third_sum[2*i*W+:2*W] = {down_im[W+17:18], down_re[W+17:18]};
        end
    endgenerate

    reg [35:0] roots[0:255];
    initial $readmemh("tables/root_384.hex", roots);
    reg [7:0] which;
    reg [35:0] root;

    always @(posedge clk) begin
        if (en) begin
            index <= wraps ? 7'd0 : at + 1'b1;
            block <= !wraps ? now : now == 2 ? 2'd0 : now + 1'b1;
            armed <= !bypass & (first | (armed & !(now == 2 & at == 0)));

            a1 <= one[at];
            b1 <= two[at];
            c1 <= x;
            {now1, at1, first1} <= {now, at, now == 2 & at == 0 & armed};
            {a2, b2, c2, now2, at2, first2} <= {a1, b1, c1, now1, at1, first1};
            {a3, b3, c3, now3, at3, first3} <= {a2, b2, c2, now2, at2, first2};
            // In a frame's first third the second sums of the frame before go out, in its second the third.
            out <= now3 == 2 ? sum : now3 == 1 ? b3 : a3;
            to_one <= now3 == 2 ? second : c3;
            to_two <= now3 == 2 ? third_sum : c3;
            {now4, at4, first4} <= {now3, at3, first3};
            if (now4 != 1) one[at4] <= to_one;
            if (now4 != 0) two[at4] <= to_two;

            which <= (now2 == 1 ? {at2, 1'b0} : {1'b0, at2}) << stride;
            root <= now3 == 2 ? {18'd65536, 18'd0} : roots[which];
        end
        if (rst) {armed, first1, first2, first3, first4} <= 0;
    end

    wire [BUS-1:0] turned;
    reg [2:0] firsts;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : turn
            rotate #(.W(W)) rotate (
                .clk(clk), .en(en), .re(out[2*i*W+:W]), .im(out[(2*i+1)*W+:W]), .root(root),
                .re_out(turned[2*i*W+:W]), .im_out(turned[(2*i+1)*W+:W])
            );
        end
    endgenerate
    always @(posedge clk) begin
        if (en) begin
            firsts <= {firsts[1:0], first4};
            y <= bypass ? x : turned;
            first_out <= bypass ? first : firsts[2];
        end
        if (rst) {firsts, first_out} <= 0;
    end
endmodule
